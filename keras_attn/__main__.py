from keras_attn.command_line import main

main()
